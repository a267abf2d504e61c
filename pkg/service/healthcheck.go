package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
)

// healthcheckCommand returns the command that asks a running program for its health. Containers without a shell use it
// as their probe.
func (p Program) healthcheckCommand(schema *config.Schema) *cobra.Command {
	var timeout time.Duration
	var part string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Check whether the running program is ready",
		Long: "Check whether the program running at health.address is ready. Give the same flags, variables and file as to the\n" +
			"running program, so that the address is the same. A program that serves over HTTP or gRPC is ready while the broker\n" +
			"is away; --part asks for one part.\n\n" +
			"Exit codes: 0 ready; 1 not ready, or no answer.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := p.load(schema, cmd.Flags())
			if err != nil {
				return exit(exitFailed, "%w", err) // Docker reserves exit code 2 of a health check
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			answer, err := askReady(ctx, loaded.Config().Health.Address, part)
			if err != nil {
				return exit(exitFailed, "%w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), answer)
			return nil
		},
	}
	p.addFlags(schema, cmd.Flags(), "health")
	cmd.Flags().StringVar(&part, "part", "", "check only this part: `http, grpc or broker`")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for an answer")
	return cmd
}

// askReady requests /readyz, or that of a part, from the program that listens at address. If it is not ready, the error
// contains the reasons.
func askReady(ctx context.Context, address, part string) (string, error) {
	path := "/readyz"
	if part != "" {
		path += "/" + url.PathEscape(part)
	}
	hosts, err := dialable(address)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy
	var errs []error
	for _, host := range hosts {
		answer, status, err := get(ctx, &http.Client{Transport: transport}, "http://"+host+path)
		switch {
		case err != nil:
			errs = append(errs, err)
		case status == http.StatusOK:
			return answer, nil
		case status == http.StatusServiceUnavailable:
			return "", fmt.Errorf("not ready:\n%s", answer)
		case status == http.StatusNotFound && part != "":
			return "", fmt.Errorf("the program has no part %q, or another program is listening at %s", part, host)
		default:
			return "", fmt.Errorf("%s answers %s with %d: another program is listening there", host, path, status)
		}
	}
	return "", fmt.Errorf("no answer at %s: the program is not running, or has a different health.address: %w", address, errors.Join(errs...))
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

// dialable returns the addresses at which to reach a listening address. For an unspecified host, that is the loopback
// address.
func dialable(address string) ([]string, error) {
	if address == config.Off {
		return nil, errors.New("health.address is off, so the program cannot be asked")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("health.address: %w", err)
	}
	if port == "0" {
		return nil, fmt.Errorf("health.address is %s, so only the log of the running program has its port; configure a fixed port", address)
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
