package cli

import (
	"bytes"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// discretion hides the secrets in the payloads that a command shows, or reveals them to a person who has asked and may
// see them. With nothing but an app it hides them.
type discretion struct {
	app      *App
	command  string
	reveal   bool
	revealed int // payloads whose secrets are shown
	schemas  map[letterKind][]*schema.Schema
}

// letterKind is what determines the schemas of a dead letter.
type letterKind struct{ source, queue, contract string }

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
	all, err := d.schemasOf(l)
	body := readable(all, l)
	for _, s := range all {
		body = d.show(s, body)
	}
	return body, err
}

// readable returns the payload of a dead letter as JSON, also where its contract's bodies are something else; what cannot
// be decoded, as it is. So is what may be of several contracts.
func readable(all []*schema.Schema, l *deadletter.Letter) []byte {
	if len(all) == 1 {
		if text, err := all[0].FromBody(l.Body); err == nil {
			return text
		}
	}
	return l.Body
}

// seen returns the payload of a dead letter as the expression of --where sees it: one that could compare a secret would
// find it out.
func (d *discretion) seen(l *deadletter.Letter) []byte {
	all, err := d.schemasOf(l)
	if err != nil {
		return nil
	}
	body := readable(all, l)
	for _, s := range all {
		if !d.reveal {
			body = s.Redact(body)
		}
	}
	return body
}

// schemasOf returns the schema of a dead letter: that of its contract, as its queue says, or, if the catalog does not have
// the queue, of the contract that its type names. One that belongs to none of the contracts of its queue may have the
// secrets of each: it has the schemas of all. So has one that does not say its queue, of all whose dead letters end where
// it is, and one whose type several contracts have.
func (d *discretion) schemasOf(l *deadletter.Letter) ([]*schema.Schema, error) {
	k := letterKind{l.Source, l.Queue, l.Contract}
	if all, ok := d.schemas[k]; ok {
		return all, nil
	}
	var all []*schema.Schema
	for _, c := range d.app.contractsOf(k) {
		s, err := schema.Payload(c.Spec())
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if d.schemas == nil {
		d.schemas = map[letterKind][]*schema.Schema{}
	}
	d.schemas[k] = all
	return all, nil
}

// contractsOf returns the contracts to which a dead letter may belong.
func (a *App) contractsOf(k letterKind) []leveret.Contract {
	var all []leveret.Contract
	for _, q := range a.deadLetterQueues() {
		switch {
		case q.name == k.queue:
			for _, c := range q.contracts {
				if c.Spec().Name == k.contract {
					return []leveret.Contract{c}
				}
			}
			return q.contracts
		case k.queue == "" && q.deadLetters == k.source:
			all = append(all, q.contracts...)
		}
	}
	if len(all) > 0 || k.contract == "" {
		return all
	}
	for _, c := range a.Catalog.Contracts() {
		if spec := c.Spec(); spec.Name == k.contract || spec.Address != nil && spec.Address.Type == k.contract {
			all = append(all, c)
		}
	}
	return all
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
