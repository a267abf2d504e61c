package outbox

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/internal/wire"
)

// A trouble is why messages of one contract, or any, cannot be sent now. Each relay writes down its own, as JSON.
type trouble struct {
	Text string `json:"text"`
	// Undeclared is the contract that the relay's service does not declare, where that is the trouble.
	Undeclared string `json:"undeclared,omitempty"`
}

// A voice is a relay of this process, and says what its troubles are at this moment.
type voice struct {
	relay    string
	troubles func() []trouble
}

// own returns the troubles of the relay of this process, as they are now, and its id.
func (o *Outbox) own() (relay string, troubles []trouble) {
	if v := o.voice.Load(); v != nil {
		return v.relay, v.troubles()
	}
	return "", nil
}

// merged returns what is said of some troubles, once each.
func merged(all ...[]trouble) (texts []string) {
	for _, t := range slices.Concat(all...) {
		texts = append(texts, t.Text)
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// others returns the troubles of the relays of other processes that beat now.
func (o *Outbox) others(ctx context.Context) (all []trouble, err error) {
	rows, err := o.config.DB.QueryContext(ctx, o.dialect.sql("SELECT relay, trouble FROM leveret_outbox_relays WHERE trouble <> '' AND beat_at >= {now} - $1"),
		beatsNow(o.config.Lease).Microseconds())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	own, _ := o.own()
	for rows.Next() {
		var relay, text string
		if err := rows.Scan(&relay, &text); err != nil {
			return nil, err
		}
		if relay != own {
			all = append(all, readTroubles(text)...)
		}
	}
	return all, rows.Err()
}

func writeTroubles(all []trouble) (string, error) {
	if len(all) == 0 {
		return "", nil
	}
	all = slices.Clone(all)
	for i := range all {
		all[i].Text = wire.Storable(all[i].Text)
	}
	text, err := json.Marshal(all)
	return string(text), err
}

func readTroubles(text string) (all []trouble) {
	if text != "" && json.Unmarshal([]byte(text), &all) != nil {
		return []trouble{{Text: text}}
	}
	return all
}

// trouble returns why the relay cannot send messages now: all of them, as err says, or those of some contracts.
func (d *desk) trouble(err error) (all []trouble) {
	if err != nil {
		all = append(all, trouble{Text: strings.ReplaceAll(err.Error(), "\n", "; ")}) // errors may be joined
	}
	if t := d.troubles.Load(); t != nil {
		all = append(all, *t...)
	}
	return all
}

// tell notes for beat what keeps which contracts from being sent.
func (d *desk) tell() {
	var all []trouble
	for _, l := range d.lanes {
		if l.trouble != "" {
			all = append(all, trouble{Text: l.trouble})
		}
	}
	for _, contract := range d.undeclared {
		all = append(all, trouble{d.relay.undeclared(contract), contract})
	}
	slices.SortFunc(all, func(a, b trouble) int { return strings.Compare(a.Text, b.Text) })
	d.troubles.Store(&all)
}

// undeclared says that the service declares no contract of that name as one that it sends.
func (r *relay) undeclared(contract string) string {
	return r.service + " does not declare that it sends " + contract + ": add leveret.Publishes or leveret.Sends, or run a version that does"
}
