package shopcli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/devcerts"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// certificates is what `dev certs` prints under -o json: see docs/cli.md.
type certificates struct {
	CAFile       string        `json:"ca_file"`
	CAExpires    time.Time     `json:"ca_expires"`
	CAMade       bool          `json:"ca_made"`
	Certificates []certificate `json:"certificates"`
}

type certificate struct {
	Service  string    `json:"service"`
	CertFile string    `json:"cert_file"`
	KeyFile  string    `json:"key_file"`
	Expires  time.Time `json:"expires"`
}

// devCerts returns the command that makes certificates for development.
func devCerts(app *cli.App) *cobra.Command {
	var o devcerts.Config
	cmd := &cobra.Command{
		Use:   "certs DIR",
		Short: "Make certificates for development, so that services use mutual TLS",
		Long: `Make certificates for development, so that services use mutual TLS.

Makes an authority in the folder if there is none, and a certificate for each service, valid for 30 days for the service's
name, localhost, 127.0.0.1 and ::1. Run it again to renew the certificates; running services read them again by
themselves. The authority is valid for a year, and only for the names given when it was made; when --renew has replaced it,
restart the services. It is not for production: its key lies beside the certificates.`,
		Args: cli.Arguments(1, 1),
		Example: fmt.Sprintf("  %[1]s dev certs ./certs\n  %[1]s dev certs ./certs --host shop.local --host 192.0.2.7\n"+
			"  %[1]s dev certs ./certs --service order --service rabbitmq --force", app.Name),
		RunE: func(_ *cobra.Command, args []string) error { return makeCerts(app, args[0], o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Services, "service", nil, "a service to make a certificate for; `NAME` may be repeated (default: all services)")
	f.StringSliceVar(&o.Hosts, "host", nil, "a further host or IP address that the certificates are valid for; `NAME` may be repeated")
	f.BoolVar(&o.Renew, "renew", false, "replace the authority if it is about to expire, or is not for all names; name all services then")
	f.BoolVar(&o.Force, "force", false, "replace the authority, whoever made it, and the certificates")
	cli.NeedsNothing(cmd)
	return cmd
}

func makeCerts(app *cli.App, dir string, o devcerts.Config) (err error) {
	if dir == "" {
		return cli.Fail(cli.ExitUsage, app.Name+" dev certs --help", "DIR is empty; name a folder for the certificates")
	}
	if o.Dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if len(o.Services) == 0 {
		for _, p := range programs.All() {
			o.Services = append(o.Services, p.Service.Name())
		}
	}
	set, err := o.Make()
	if err != nil { // a name that cannot be, or a folder that cannot be used
		return cli.Fail(cli.ExitUsage, app.Name+" dev certs --help", "%w", err)
	}
	if app.Format() != cli.FormatText {
		return app.PrintJSON(shownCerts(set))
	}
	table := term.NewTable("SERVICE", "CERTIFICATE", "KEY", "EXPIRES")
	for _, c := range set.Certificates {
		table.Add(term.Plain(c.Service), term.Plain(c.CertFile), term.Plain(c.KeyFile), term.Plain(c.Expires.Format(time.DateOnly)))
	}
	if err := app.PrintTable(table); err != nil {
		return err
	}
	made := "is new"
	if !set.CAMade {
		made = "is the same as before"
	}
	first := set.Certificates[0].Service
	program := first
	if slices.ContainsFunc(programs.All(), func(p service.Program) bool { return p.Service.Name() == first }) {
		program += "d"
	}
	app.Note("\nThe authority %s %s; it expires on %s. To use a certificate:\n  %s %s\nand for curl:\n  --cacert %s --cert %s --key %s",
		set.CAFile, made, set.CAExpires.Format(time.DateOnly), strings.Join(set.Env(first), " \\\n  "), program,
		set.CAFile, set.Certificates[0].CertFile, set.Certificates[0].KeyFile)
	return nil
}

func shownCerts(set *devcerts.Set) certificates {
	shown := certificates{CAFile: set.CAFile, CAExpires: set.CAExpires, CAMade: set.CAMade}
	for _, c := range set.Certificates {
		shown.Certificates = append(shown.Certificates, certificate(c))
	}
	return shown
}
