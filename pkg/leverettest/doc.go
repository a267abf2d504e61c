// Package leverettest is for the tests of programs that use Leveret.
//
// A handler's test needs no broker and takes microseconds. Register the handlers as the program does, and deliver:
//
//		h := leveret.NewHandlers(queues.Payment, leveret.HandlersConfig{})
//		billing.New(rec).Register(h)
//
//		got := leverettest.Deliver(t.Context(), h, queues.OrderPlaced, order)
//		require.NoError(t, got.Err)
//		require.Equal(t, leveret.VerdictAck, got.Verdict)
//		require.Equal(t, []Capture{{OrderID: order.ID}}, leverettest.Sent(rec, queues.PaymentCaptured))
//
//	  - [Deliver] hands a command or an event to its handler, [Call] a request: through the middleware, deadline,
//	    decoding, validation and verdict that a transport goes through.
//	  - [Recorder] stands in for the client where the handler sends. It remembers, and fails where the test wants it to.
//	  - [StubCaller] stands in for the client where the handler calls. Functions of the test answer.
//	  - [Suite] checks another sender or caller for what handlers rely on.
//	  - [Broker] is the test's own virtual host on a real RabbitMQ, for all that only a broker can show.
package leverettest
