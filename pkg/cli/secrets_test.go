package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// planted is in every secret field of these tests.
const planted = "tok_hunter_two"

// A till takes cards, whose tokens nobody may see.

type card struct {
	Token leveret.Secret `json:"token" jsonschema:"pattern=^tok_[a-z_]+$,example=tok_visa"`
	PIN   leveret.Secret `json:"pin,omitempty"`
}

type pay struct {
	Amount int64  `json:"amount" jsonschema:"minimum=1"`
	Cards  []card `json:"cards"`
}

type receipt struct {
	Number string         `json:"number"`
	Cancel leveret.Secret `json:"cancel"`
}

var (
	tillExample = pay{7, []card{{planted, planted}}}
	tillPay     = leveret.NewCommand[pay]("till.pay", leveret.Example(tillExample))
	tillPaid    = leveret.NewEvent[pay]("till.paid", leveret.Example(tillExample))
	tillPrint   = leveret.NewRequest[pay, receipt]("till.print", leveret.Timeout(patience))
	till        = leveret.NewService("till", leveret.Handles(tillPay), leveret.Publishes(tillPaid), leveret.SubscribesTo(tillPaid), leveret.Answers(tillPrint))
	tills       = leveret.NewCatalog(till, leveret.NewService("guest", leveret.Sends(tillPay), leveret.Calls(tillPrint)))
)

// atTill runs the program of the till.
func atTill(t *testing.T, url string, args ...string) (cli.ExitCode, string, string) {
	t.Helper()
	c := &command{args: args}
	if url != "" {
		c = kitchenAt(t, url, args...)
	}
	code := cli.Run(t.Context(), cli.Config{Catalog: tills, Name: "till", Args: c.args, Streams: &term.Streams{
		In: strings.NewReader(onTill), Out: &c.out, Err: &c.err, Env: func(string) string { return "" },
	}})
	return code, c.out.String(), c.err.String()
}

const onTill = `{"amount":7,"cards":[{"token":"` + planted + `","PIN":"` + planted + `"}]}`

// serveTill answers and handles; a handler for the amount 13 prints its payload into an error, and for 14 panics with it.
func serveTill(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}, Name: "till"})
	require.NoError(t, err)
	h := leveret.NewHandlers(till, leveret.HandlersConfig{})
	answer := func(p pay) error {
		switch p.Amount {
		case 13:
			return leveret.Errorf(leveret.FailedPrecondition, "cannot take %v, %+v, %#v, %s, %q", p, p, p, p.Cards[0].Token, p.Cards)
		case 14:
			panic(p)
		}
		return nil
	}
	tillPay.Handle(h, func(_ context.Context, p pay) error { return answer(p) })
	tillPaid.Subscribe(h, func(_ context.Context, p pay) error { return answer(p) })
	tillPrint.Answer(h, func(_ context.Context, p pay) (receipt, error) { return receipt{"r-1", planted}, answer(p) })
	ready, ended := make(chan struct{}), make(chan error, 1)
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{OnReady: func() { close(ready) }})
	require.NoError(t, err)
	go func() { ended <- w.Run(ctx) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, conn.Close(context.WithoutCancel(ctx)))
	})
}

// TestNoOutputHasASecret: whatever a person types without the right, no secret is printed.
func TestNoOutputHasASecret(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	serveTill(t, url)
	amount := func(n int) string { return strings.Replace(onTill, "7", fmt.Sprint(n), 1) }
	misspelt := strings.Replace(onTill, `"token"`, `"tokn"`, 1)
	wrong := strings.ReplaceAll(onTill, "tok_", "TOK ") // against its pattern
	send := func(body string) {
		code, _, stderr := atTill(t, url, "send", "--raw", "--exchange", "commands", "--routing-key", "till.pay", body)
		require.Equal(t, cli.ExitOK, code, stderr)
	}
	buried := []string{amount(13), planted, onTill[:len(onTill)-1], `{"cards":"` + planted + `","amount":1}`}
	for _, body := range buried {
		send(body)
	}
	code, _, _ := atTill(t, url, "publish", "till.paid", amount(13))
	require.Equal(t, cli.ExitOK, code)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		requireReady(ctx, tb, conn, "till.pay.dlq", len(buried))
		requireReady(ctx, tb, conn, "till.on.till.paid.dlq", 1)
	})
	bury(t, url, "till.pay", 1, "internal", strings.Replace(misspelt, "7", "%d", 1))
	bury(t, url, "till.pay", 1, "not_found", strings.Replace(wrong, "7", "%d", 1))
	letters := fingerprints(t, url, "till.pay")
	require.Len(t, letters, len(buried)+2)
	var all strings.Builder
	for _, args := range [][]string{
		{"contracts"},
		{"contracts", "show", "till.pay"},
		{"contracts", "show", "till.pay", "--example"},
		{"contracts", "show", "till.print"},
		{"send", "till.pay", onTill},
		{"send", "till.pay", "-f", "-"},
		{"send", "till.pay", wrong},
		{"send", "till.pay", misspelt},
		{"send", "till.pay", onTill + "}"},
		{"send", "till.pay", planted},
		{"send", "till.pay", `{"amount":7,"cards":["` + planted + `"]}`},
		{"send", "till.pay", `{"amount":7.5,"cards":"` + planted + `"}`},
		{"send", "till.pay", `{"amount":7,"cards":[{"token":`, `"` + planted + `"}]}`},
		{"send", onTill},
		{"send", onTill, "till.pay"},
		{"send", "till.pay", onTill, "-n", "3"},
		{"send", "till.pay", "-f", "-", "--lines"},
		{"publish", "till.paid", wrong},
		{"call", "till.print", onTill},
		{"call", "till.print", amount(13)},
		{"call", "till.print", amount(14)},
		{"call", "till.print", wrong},
		{"call", "till.print", onTill, planted},
		{"call", onTill},
		{"dlq", "ls"},
		{"dlq", "ls", "till.pay", "--where", `payload.cards[0].token + 1 == 2`},
		{"dlq", "show", "till.pay"},
		{"dlq", "show", "till.pay", letters[0]},
		{"dlq", "show", "till.pay", letters[1]},
		{"dlq", "show", "till.pay", letters[2]},
		{"dlq", "show", "till.pay", letters[3]},
		{"dlq", "show", "till.pay", letters[4]},
		{"dlq", "show", "till.pay", letters[5]},
		{"dlq", "show", "till.on.till.paid", fingerprints(t, url, "till.on.till.paid")[0]},
		{"dlq", "replay", "till.pay", "--dry-run"},
		{"queues", "--all"},
		{"config", "show"},
	} {
		for _, format := range []string{"text", "json", "jsonl"} {
			code, stdout, stderr := atTill(t, url, append(args, "-o", format, "--log-level", "debug")...)
			require.NotContains(t, stdout+stderr, "hunter", "till %q -o %s", args, format)
			fmt.Fprintln(&all, code, stdout, stderr)
		}
	}
	require.Contains(t, all.String(), `"token":"[secret]"`)
	require.Contains(t, all.String(), `"cancel":"[secret]"`)
	require.Contains(t, all.String(), `cannot take {13 [{[secret] [secret]}]}`)
	require.Regexp(t, `\[secret\]: [0-9]+ bytes that are not JSON`, all.String())

	_, stdout, _ := atTill(t, url, "dlq", "ls", "till.pay", "--where", `contract == "" and payload.cards[0].token startsWith "tok_h"`, "-o", "json")
	require.Equal(t, "[]\n", stdout, "an expression cannot find a secret out")
}

func TestExamplesWithSecrets(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := atTill(t, "", "contracts", "show", "till.pay")
	require.Equal(t, cli.ExitOK, code)
	require.Contains(t, stdout, "example\n{\n  \"amount\": 7,\n  \"cards\": [\n    {\n      \"token\": \"[secret]\",\n      \"pin\": \"[secret]\"\n    }\n  ]\n}\n")
	require.Contains(t, stdout, `"writeOnly": true`)
	require.Equal(t, "\ntry: till send till.pay '{\"amount\":7,\"cards\":[{\"token\":\"tok_visa\",\"pin\":\"[secret]\"}]}'\n", stderr)

	code, stdout, _ = atTill(t, "", "contracts", "show", "till.pay", "--example", "-o", "jsonl")
	require.Equal(t, cli.ExitOK, code)
	require.Equal(t, `{"amount":7,"cards":[{"token":"tok_visa","pin":"[secret]"}]}`+"\n", stdout, "it can be sent")
	url := leverettest.Broker(t)
	code, _, stderr = atTill(t, url, "send", "till.pay", strings.TrimSpace(stdout))
	require.Equal(t, cli.ExitOK, code, stderr)
}

// TestRevealSecrets needs both the right and the flag.
func TestRevealSecrets(t *testing.T) {
	url := leverettest.Broker(t)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		require.NoError(tb, rabbit.NewDeclarer(conn).Declare(ctx, till.Topology(topology.Names{}, topology.Classic)))
	})
	bury(t, url, "till.pay", 2, "not_found", strings.Replace(onTill, "7", "%d", 1))
	bury(t, url, "till.pay", 1, "internal", `{"amount":%d,"cards":[]}`)
	serveTill(t, url)
	commands := [][]string{
		{"dlq", "show", "till.pay", "-o", "jsonl"},
		{"dlq", "show", "till.pay", "not_found-1"},
		{"contracts", "show", "till.pay"},
		{"contracts", "show", "till.pay", "--example"},
		{"call", "till.print", onTill},
	}
	for _, args := range commands {
		code, stdout, stderr := atTill(t, url, append(args, "--reveal-secrets")...)
		require.Equal(t, cli.ExitUsage, code)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "--reveal-secrets needs the right to see secrets: the setting cli.reveal_secrets is false")
	}
	t.Setenv("LEVERET_CLI_REVEAL_SECRETS", "true")
	for _, args := range commands {
		code, stdout, stderr := atTill(t, url, args...)
		require.Equal(t, cli.ExitOK, code, stderr)
		require.NotContains(t, stdout+stderr, "hunter", "the right alone shows nothing")
		code, stdout, stderr = atTill(t, url, append(args, "--reveal-secrets")...)
		require.Equal(t, cli.ExitOK, code, stderr)
		require.Contains(t, stdout, planted)
		require.Regexp(t, `secrets of (1 payload is|2 payloads are) shown to .`, stderr)
		require.Regexp(t, `"?level"?[:=]"?WARN"?.*secrets are shown.*`+strings.Join(args[:2], " ")+`.*payloads"?[:=][12].*user`, stderr)
	}
	code, _, stderr := atTill(t, url, "dlq", "show", "till.pay", "--reveal-secrets")
	require.Equal(t, cli.ExitOK, code)
	require.Empty(t, stderr, "the list for people shows no payloads")
	code, stdout, stderr := atTill(t, url, "dlq", "show", "till.pay", "--reveal-secrets", "-o", "json", "--where", `code == "not_found" and payload.cards[0].token startsWith "tok_h"`)
	require.Equal(t, cli.ExitOK, code)
	require.Equal(t, 4, strings.Count(stdout, planted))
	var warning struct{ Warning string }
	require.NoError(t, json.NewDecoder(strings.NewReader(stderr)).Decode(&warning))
	require.Regexp(t, "^the secrets of 2 payloads are shown to .", warning.Warning)
}
