// Package leverettest is for the tests of programs that use Leveret.
//
// A handler's test needs no broker and takes microseconds. Make a worker without a connection, register the handlers as
// the program does, and deliver:
//
//		w, err := leveret.NewWorker(nil, queues.Payment, leveret.WorkerConfig{})
//		require.NoError(t, err)
//		billing.New(rec).Register(w)
//
//		got := leverettest.Deliver(t.Context(), w, queues.OrderPlaced, order)
//		require.NoError(t, got.Err)
//		require.Equal(t, leveret.VerdictAck, got.Verdict)
//		require.Equal(t, []Capture{{OrderID: order.ID}}, leverettest.Sent(rec, queues.PaymentCaptured))
//
//	  - [Deliver] hands a command or an event to its handler, [Call] a request: through the middleware, deadline, decoding,
//	    validation and verdict that a running worker has.
//	  - [Recorder] stands in for the client where the handler sends. It remembers, and it fails when told to.
//	  - [Replier] stands in for the client where the handler calls. It answers as told.
//	  - [Broker] is a virtual host of the test's own on a real RabbitMQ, for all that only a broker can tell.
package leverettest
