package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
)

// healthcheckCommand asks the program that runs already. It is what a container without a shell has for a probe.
func (p Program) healthcheckCommand(schema *config.Schema) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the one that runs whether it is ready",
		Long: "Ask the one that runs, at health.address, whether it is ready. The address comes from where the running one has it:\n" +
			"flags, variables, file.\n\n" +
			"Exit codes: 0 it is ready; 1 it is not, or does not answer.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := p.load(schema, cmd.Flags())
			if err != nil {
				return exit(exitFailed, "%w", err) // 2 is reserved for health checks of containers
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			answer, err := askReady(ctx, loaded.Config().Health.Address)
			if err != nil {
				return exit(exitFailed, "%w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), answer)
			return nil
		},
	}
	p.addFlags(schema, cmd.Flags(), "health")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	return cmd
}

// askReady asks /readyz of the program at a listening address. The error says why it is not ready.
func askReady(ctx context.Context, address string) (string, error) {
	hosts, err := dialable(address)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy
	var errs []error
	for _, host := range hosts {
		answer, status, err := get(ctx, &http.Client{Transport: transport}, "http://"+host+"/readyz")
		switch {
		case err != nil:
			errs = append(errs, err)
		case status == http.StatusOK:
			return answer, nil
		case status == http.StatusServiceUnavailable:
			return "", fmt.Errorf("not ready:\n%s", answer)
		default:
			return "", fmt.Errorf("%s answers /readyz with %d: something else is listening there", host, status)
		}
	}
	return "", fmt.Errorf("no answer at %s: it does not run, or its health.address is another: %w", address, errors.Join(errs...))
}

func get(ctx context.Context, client *http.Client, url string) (text string, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return strings.TrimSpace(string(body)), response.StatusCode, err
}

// dialable returns where to reach what listens at an address: one that listens everywhere is asked at home.
func dialable(address string) ([]string, error) {
	if address == config.HealthOff {
		return nil, errors.New("health.address is off: there is nobody to ask")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("health.address: %w", err)
	}
	if port == "0" {
		return nil, fmt.Errorf("health.address is %s: the port is known only to the one that runs, which logs it; configure one to ask", address)
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip != nil && ip.IsUnspecified() && ip.To4() == nil:
		return []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}, nil
	case ip != nil && ip.IsUnspecified():
		return []string{net.JoinHostPort("127.0.0.1", port)}, nil
	default:
		return []string{address}, nil
	}
}
