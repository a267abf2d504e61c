package leveret_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// The contracts of a mail service: what it does, what it announces, what it answers.
var (
	// SendMail asks the mail service to send a mail.
	SendMail = leveret.NewCommand[Mail]("mail.send")

	// MailBounced announces that a mail came back.
	MailBounced = leveret.NewEvent[Bounce]("mail.bounced")

	// CheckAddress asks whether an address takes mail.
	CheckAddress = leveret.NewRequest[AddressQuery, AddressReport]("mail.check-address",
		leveret.Timeout(2*time.Second), leveret.Idempotent())

	// MailService handles, publishes and answers them; Signup uses them.
	MailService = leveret.NewService("mail",
		leveret.Handles(SendMail), leveret.Answers(CheckAddress), leveret.Publishes(MailBounced))
	Signup = leveret.NewService("signup",
		leveret.Sends(SendMail), leveret.Calls(CheckAddress), leveret.SubscribesTo(MailBounced))
)

// Mail is what SendMail carries. Validate, where there is one, is asked before sending and after decoding.
type Mail struct {
	MailID string `json:"mail_id"` // made by the sender: a mail that comes twice is sent once
	To     string `json:"to"`
	Text   string `json:"text"`
}

func (m Mail) Validate() error {
	if !strings.Contains(m.To, "@") {
		return errors.New("to: must be an address")
	}
	return nil
}

type Bounce struct {
	MailID string `json:"mail_id"`
	Reason string `json:"reason"`
}

type AddressQuery struct {
	Address string `json:"address"`
}

type AddressReport struct {
	Deliverable bool `json:"deliverable"`
}

// A service, from the connection to the last message that it settles.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{"amqp://guest:guest@localhost:5672"}})
	if err != nil {
		log.Print(err)
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()

	h := leveret.NewHandlers(MailService, leveret.HandlersConfig{})
	SendMail.Handle(h, func(_ context.Context, m Mail) error {
		fmt.Println("to", m.To)
		return nil
	})
	CheckAddress.Answer(h, func(_ context.Context, q AddressQuery) (AddressReport, error) {
		return AddressReport{Deliverable: strings.HasSuffix(q.Address, "@example.com")}, nil
	})
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
	if err != nil {
		log.Print(err)
		return
	}
	if err := w.Run(ctx); err != nil { // until Ctrl-C; what runs then is finished and settled
		log.Print(err)
	}
}

// The catalog says what is wrong with services and contracts, all of it at once.
func ExampleNewCatalog() {
	fmt.Println(leveret.NewCatalog(MailService, Signup).Err())

	shout := leveret.NewCommand[string]("Mail.SHOUT")
	fmt.Println(leveret.NewCatalog(leveret.NewService("signup", leveret.Sends(shout))).Err())

	// Output:
	// <nil>
	// command "Mail.SHOUT": the name must look like service.verb, in lower-case letters, digits and hyphens, 127 bytes at most
	// no service handles the command "Mail.SHOUT"
}

// Send returns nil once a queue holds the message, on disk. The errors say what else may have become of it.
func ExampleCommand_Send() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{})
	if err != nil {
		log.Print(err)
		return
	}
	client, err := leveret.NewClient(conn, Signup, leveret.ClientConfig{})
	if err != nil {
		log.Print(err)
		return
	}
	err = SendMail.Send(ctx, client, Mail{MailID: "m-1", To: "ada@example.com", Text: "Welcome"})
	switch {
	case err == nil:
		fmt.Println("confirmed")
	case errors.Is(err, leveret.ErrUnconfirmed):
		fmt.Println("perhaps sent: send it again under the same id, and its receiver can recognise it")
	case errors.Is(err, leveret.InvalidArgument):
		fmt.Println("wrong, and always will be:", err)
	default:
		fmt.Println("not sent:", err)
	}
}

// An event goes to every service that subscribes to it, each with its own queue.
func ExampleEvent_Publish() {
	publish := func(ctx context.Context, client *leveret.Client, b Bounce) error {
		return MailBounced.Publish(ctx, client, b, leveret.MessageID("bounce-"+b.MailID), leveret.Header("tenant", "blue"))
	}
	_ = publish
}

func ExampleEvent_Subscribe() {
	h := leveret.NewHandlers(Signup, leveret.HandlersConfig{})
	MailBounced.Subscribe(h, func(ctx context.Context, b Bounce) error {
		m := leveret.MessageFrom(ctx) // what accompanies the payload
		fmt.Println(b.MailID, b.Reason, "from the queue", m.Queue, "attempt", m.Attempt)
		return nil
	})
	leverettest.Deliver(context.Background(), h, MailBounced, Bounce{MailID: "m-1", Reason: "no such user"})

	// Output:
	// m-1 no such user from the queue signup.on.mail.bounced attempt 1
}

// A call ends in a reply, in an error of the other side with its code, or in one that says why there is no answer.
func ExampleRequest_Call() {
	check := func(ctx context.Context, client *leveret.Client, address string) (bool, error) {
		report, err := CheckAddress.Call(ctx, client, AddressQuery{Address: address})
		switch {
		case err == nil:
			return report.Deliverable, nil
		case errors.Is(err, leveret.InvalidArgument):
			return false, nil // the mail service says that it is no address
		case errors.Is(err, leveret.ErrUnroutable):
			return false, fmt.Errorf("the mail service does not run: %w", err)
		default:
			return false, err // DeadlineExceeded, Unavailable, …
		}
	}
	_ = check
}

func ExampleRequest_Answer() {
	h := leveret.NewHandlers(MailService, leveret.HandlersConfig{})
	CheckAddress.Answer(h, func(_ context.Context, q AddressQuery) (AddressReport, error) {
		user, host, ok := strings.Cut(q.Address, "@")
		if !ok || user == "" {
			return AddressReport{}, leveret.Errorf(leveret.InvalidArgument, "%q is no address", q.Address)
		}
		return AddressReport{Deliverable: host == "example.com"}, nil
	})
	for _, address := range []string{"ada@example.com", "ada@nowhere", "ada"} {
		got := leverettest.Call(context.Background(), h, CheckAddress, AddressQuery{Address: address})
		fmt.Println(got.Reply, got.Err)
	}

	// Output:
	// {true} <nil>
	// {false} <nil>
	// {false} invalid_argument: "ada" is no address
}

// The error is the verdict: its code decides whether the message is tried again.
func ExampleHandlers() {
	send := leveret.NewCommand[Mail]("mail.send", leveret.Retry(leveret.RetryPolicy{
		Attempts: 3, Delays: []time.Duration{time.Second, time.Minute},
	}))
	h := leveret.NewHandlers(leveret.NewService("mail", leveret.Handles(send)), leveret.HandlersConfig{})
	send.Handle(h, func(_ context.Context, m Mail) error {
		switch m.Text {
		case "busy":
			return leveret.Errorf(leveret.Unavailable, "%s is busy", m.To)
		case "blocked":
			return leveret.Errorf(leveret.PermissionDenied, "%s does not want our mail", m.To)
		case "old":
			return leveret.Discard(errors.New("who still wants this?"))
		case "quota":
			return leveret.RetryAfter(30*time.Second, leveret.ResourceExhausted)
		case "broken":
			return errors.New("an error without a code")
		default:
			return nil
		}
	})
	for _, text := range []string{"hello", "busy", "blocked", "old", "quota", "broken"} {
		got := leverettest.Deliver(context.Background(), h, send, Mail{To: "ada@example.com", Text: text})
		fmt.Printf("%-8s %s %v\n", text, got.Verdict, got.Delay)
	}
	got := leverettest.Deliver(context.Background(), h, send, Mail{To: "ada@example.com", Text: "busy"}, leverettest.Attempt(3))
	fmt.Println("busy for the third time:", got.Verdict)

	// Output:
	// hello    ack 0s
	// busy     retry 1s
	// blocked  dead_letter 0s
	// old      discard 0s
	// quota    retry 1m0s
	// broken   retry 1s
	// busy for the third time: dead_letter
}

// A reason distinguishes two errors of one code, on both sides of the broker.
func ExampleNewError() {
	errBlocked := leveret.NewError(leveret.PermissionDenied, "blocked", "the recipient does not want our mail")

	err := fmt.Errorf("mail m-1: %w", errBlocked)
	fmt.Println(errors.Is(err, errBlocked), errors.Is(err, leveret.PermissionDenied), leveret.CodeOf(err).HTTPStatus())

	// Output:
	// true true 403
}

// The same kind of middleware serves workers and clients.
func ExampleMiddleware() {
	logged := func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) error {
			err := next(ctx, m)
			slog.InfoContext(ctx, "handled", "contract", m.Contract.Spec().Name, "id", m.ID, "error", err)
			return err
		}
	}
	forTenant := func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) error {
			if m.Headers["tenant"] == nil {
				return leveret.Errorf(leveret.Unauthenticated, "a message without a tenant")
			}
			return next(ctx, m)
		}
	}
	h := leveret.NewHandlers(MailService, leveret.HandlersConfig{Middleware: []leveret.Middleware{logged, forTenant}})
	SendMail.Handle(h, func(context.Context, Mail) error { return nil })

	mail := Mail{MailID: "m-1", To: "ada@example.com"}
	got := leverettest.Deliver(context.Background(), h, SendMail, mail, leverettest.With(leveret.Header("tenant", "blue")))
	fmt.Println(got.Verdict)
	got = leverettest.Deliver(context.Background(), h, SendMail, mail)
	fmt.Println(got.Verdict, got.Err)

	// Output:
	// ack
	// dead_letter unauthenticated: a message without a tenant
}

// Thousands of messages from one goroutine: none waits for the confirm of the one before.
func ExampleClient_Pipeline() {
	sendAll := func(ctx context.Context, client *leveret.Client, mails []Mail) error {
		pipeline := client.Pipeline(nil)
		for _, mail := range mails {
			m, err := SendMail.Message(ctx, mail)
			if err != nil {
				return err
			}
			if err := pipeline.Write(ctx, m); err != nil {
				return err // this one was not sent
			}
		}
		return pipeline.Flush(ctx) // nil if and only if all are confirmed
	}
	_ = sendAll
}

// An exchange or a queue that somebody else owns is only used, never declared.
func ExampleAt() {
	legacy := leveret.NewCommand[Mail]("mail.send", leveret.At(leveret.Address{
		Exchange: "old-exchange", RoutingKey: "mail.out", Queue: "OutgoingMail", External: true,
	}))
	service := leveret.NewService("mail", leveret.Handles(legacy))
	names := topology.Names{}
	fmt.Println("takes from", leveret.QueueName(names, legacy, "mail", ""))
	for _, q := range service.Topology(names, topology.Classic).Queues {
		fmt.Println("declares", q.Name)
	}

	// Output:
	// takes from OutgoingMail
	// declares OutgoingMail.dlq
	// declares retry.lost
	// declares retry.1s
	// declares retry.10s
	// declares retry.1m
	// declares retry.10m
	// declares quarantine.mail
}
