package cli

import (
	"bytes"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/schema"
)

// discretion hides the secrets in the payloads that a command shows, or reveals them to a person who has asked and may
// see them. With nothing but an app it hides them.
type discretion struct {
	app      *App
	command  string
	reveal   bool
	revealed int // payloads whose secrets are shown
	schemas  map[letterKind]*schema.Schema
}

// letterKind is what determines the schema of a dead letter.
type letterKind struct{ queue, contract string }

// revealFlag adds --reveal-secrets to a command that shows payloads.
func revealFlag(cmd *cobra.Command, reveal *bool) {
	cmd.Flags().BoolVar(reveal, "reveal-secrets", false, "show secret fields; needs the setting cli.reveal_secrets, and is logged")
}

// discretion fails if secrets are to be revealed without the right.
func (a *App) discretion(command string, reveal bool) (*discretion, error) {
	if reveal && !a.settings.revealSecrets {
		return nil, usage("set cli.reveal_secrets to true in the configuration file, if you may: see "+a.Name+" config show --origin",
			"--reveal-secrets needs the right to see secrets: the setting cli.reveal_secrets is false")
	}
	return &discretion{app: a, command: command, reveal: reveal}, nil
}

// show returns a payload as it is shown.
func (d *discretion) show(s *schema.Schema, payload []byte) []byte {
	redacted := s.Redact(payload)
	if !d.reveal || bytes.Equal(redacted, payload) {
		return redacted
	}
	d.revealed++
	return payload
}

// letter returns the payload of a dead letter as it is shown.
func (d *discretion) letter(l *deadletter.Letter) ([]byte, error) {
	s, err := d.schemaOf(l)
	if err != nil || s == nil {
		return l.Body, err
	}
	return d.show(s, readable(s, l)), nil
}

// readable returns the payload of a dead letter as JSON, also where its contract's bodies are something else; what cannot
// be decoded, as it is.
func readable(s *schema.Schema, l *deadletter.Letter) []byte {
	if text, err := s.FromBody(l.Body); err == nil {
		return text
	}
	return l.Body
}

// seen returns the payload of a dead letter as the expression of --where sees it: one that could compare a secret would
// find it out.
func (d *discretion) seen(l *deadletter.Letter) []byte {
	switch s, err := d.schemaOf(l); {
	case err != nil:
		return nil
	case s == nil:
		return l.Body
	case d.reveal:
		return readable(s, l)
	default:
		return s.Redact(readable(s, l))
	}
}

// schemaOf returns the schema of a dead letter: that of its queue's contract, or, if the catalog does not have the
// queue, of the contract that its type names. It is nil if neither is known.
func (d *discretion) schemaOf(l *deadletter.Letter) (*schema.Schema, error) {
	k := letterKind{l.Queue, l.Contract}
	if s, ok := d.schemas[k]; ok {
		return s, nil
	}
	name := d.app.contractOfType(l.Contract)
	for _, q := range d.app.deadLetterQueues() {
		if q.name == l.Queue {
			name = q.contract
		}
	}
	var s *schema.Schema
	if c, ok := d.app.Catalog.Lookup(name); ok {
		var err error
		if s, err = schema.Payload(c.Spec()); err != nil {
			return nil, err
		}
	}
	if d.schemas == nil {
		d.schemas = map[letterKind]*schema.Schema{}
	}
	d.schemas[k] = s
	return s, nil
}

// contractOfType returns the name of the contract whose messages have this type.
func (a *App) contractOfType(name string) string {
	if _, ok := a.Catalog.Lookup(name); ok {
		return name
	}
	for _, c := range a.Catalog.Contracts() {
		if address := c.Spec().Address; address != nil && address.Type == name {
			return c.Spec().Name
		}
	}
	return name
}

// log reports whose secrets are shown to whom. A command calls it before it shows them.
func (d *discretion) log() {
	if d.revealed == 0 {
		return
	}
	who := userName()
	what := "1 payload is"
	if d.revealed > 1 {
		what = strconv.Itoa(d.revealed) + " payloads are"
	}
	d.app.Warn("the secrets of %s shown to %s", what, who)
	d.app.Logger().Warn("secrets are shown", "command", d.command, "payloads", d.revealed, "user", who)
}

// userName returns the name of the user of this process.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return "an unknown user"
	}
	if u.Username == "" {
		return "uid " + u.Uid
	}
	return u.Username
}
