package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/definitions"
	"github.com/leveretmq/leveret/pkg/topology"
)

// exportResult is what `topology export -f FILE` prints as JSON.
type exportResult struct {
	File      string   `json:"file"`
	VHost     string   `json:"vhost"`
	Users     []string `json:"users"`
	Exchanges int      `json:"exchanges"`
	Queues    int      `json:"queues"`
	Bindings  int      `json:"bindings"`
}

type exportOptions struct {
	definitions   bool
	file          string
	passwords     string
	operator      string
	userPrefix    string
	administrator bool
}

func (a *App) topologyCommand() *cobra.Command {
	return group("topology", "Write down exchanges, queues and users for RabbitMQ to load", "", a.topologyExportCommand())
}

func (a *App) topologyExportCommand() *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export --definitions",
		Short: "Write what RabbitMQ loads: exchanges, queues, and a user with least rights for each service",
		Long: `Write a definitions file for RabbitMQ, derived from the contracts: exchanges, queues and bindings; a user for each service,
with the permissions that its contracts need and no others; and a user for operators. Load it with
"rabbitmqctl import_definitions FILE", or have the broker load it at its start with "load_definitions = FILE". The services
then run with broker.declare: false. Nothing is sent to a broker.

The file holds hashes of the passwords, and no password. --passwords names a folder with one file for each user,
USER/` + definitions.PasswordFile + `, for broker.password_file; those that are missing are made. Without it, users have no password,
and loading the file takes theirs away.

Services that do not trust each other need broker.layout: isolated. Names, layout and virtual host are those of the
configuration.`,
		Example: fmt.Sprintf("  %[1]s topology export --definitions --broker-layout isolated --passwords ./passwords -f definitions.json\n"+
			"  %[1]s topology export --definitions | jq .permissions", a.Name),
		Args: Arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.exportTopology(cmd, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.definitions, "definitions", false, "write RabbitMQ's definitions: the only format there is, and required")
	f.StringVarP(&o.file, "file", "f", "-", "write this `file`, or - for standard output")
	f.StringVar(&o.passwords, "passwords", "", "take the passwords from this `folder`, and make those that are missing")
	f.StringVar(&o.operator, "operator", "operator", "call the operators' user `NAME`, behind the prefix")
	f.StringVar(&o.userPrefix, "user-prefix", "", "begin the names of all users with `TEXT` (default: the namespace)")
	f.BoolVar(&o.administrator, "administrator", false, "add the user of broker.username, with all rights, and with its password")
	return cmd
}

func (a *App) exportTopology(cmd *cobra.Command, o exportOptions) error {
	if o.file == "" {
		return usage("", "-f needs the name of a file, or - for standard output")
	}
	if !o.definitions {
		return usage(cmd.CommandPath()+" --definitions", "%s needs --definitions: the format to write", cmd.CommandPath())
	}
	options := definitions.Options{
		Names: a.settings.names, RequestQueueType: a.settings.requestQueueType, ReplyQueue: a.settings.replyQueue,
		VirtualHost: a.settings.vhost(), UserPrefix: o.userPrefix, Operator: o.operator,
	}
	if o.passwords != "" {
		options.Password = definitions.Passwords(o.passwords)
	}
	if o.administrator {
		if options.Administrator, options.AdministratorPassword = a.settings.login(); options.AdministratorPassword == "" {
			return usage("", "--administrator needs broker.username and broker.password: those of the administrator")
		}
	}
	d, err := definitions.Of(a.Catalog, options)
	if err != nil {
		return err
	}
	text, err := d.Encode()
	if err != nil {
		return err
	}
	if o.file == "-" {
		_, err = a.IO.Out.Write(text)
	} else {
		err = replaceFile(o.file, text)
	}
	if err != nil {
		return usage("", "%w", err)
	}
	if a.settings.names.Layout != topology.Isolated {
		a.Note("in the shared layout, a user who may send to one service can send to all, and one who answers requests can read all: see broker.layout")
	}
	if len(d.Shortened) > 0 {
		a.Note("so that they are not too long, patterns stand for all names that begin or end alike, for the users %s", list(d.Shortened))
	}
	if o.file == "-" {
		return nil
	}
	return a.printExported(o.file, d)
}

func (a *App) printExported(file string, d *definitions.Definitions) error {
	r := exportResult{File: file, VHost: d.VHosts[0].Name, Exchanges: len(d.Exchanges), Queues: len(d.Queues), Bindings: len(d.Bindings)}
	for _, u := range d.Users {
		r.Users = append(r.Users, u.Name)
	}
	if a.Format() != FormatText {
		return a.PrintJSON(r)
	}
	a.Note("wrote %s: %d exchanges, %d queues, %d bindings, and the users %s", file, r.Exchanges, r.Queues, r.Bindings, list(r.Users))
	return nil
}
