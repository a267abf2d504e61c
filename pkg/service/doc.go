// Package service is what every program that serves with Leveret shares: configuration, log, telemetry, health, the way
// up and the way down. A program says what is its own:
//
//	func main() { service.Main(program()) }
//
//	func program() service.Program {
//		return service.Program{
//			Service: queues.Payment,
//			Version: version,
//			Keys:    payment.Keys(),
//			Setup: func(ctx context.Context, rt *service.Runtime) error {
//				var own payment.Config
//				if err := rt.Decode("payment", &own); err != nil {
//					return err
//				}
//				db, err := payment.Open(ctx, rt.DatabasePath)
//				if err != nil {
//					return err
//				}
//				rt.Close("database", db.Close)
//				p := payment.New(own, db, rt.Client)
//				queues.AuthorizePayment.Answer(rt.Handlers, p.Authorize)
//				return nil
//			},
//		}
//	}
//
// # The way up
//
// Configuration, log, telemetry, health server (from here on /healthz answers, and /readyz says what is waited for),
// connection (waited for: see broker.connect_timeout), Setup, worker, and when every queue is consumed one line in the log
// that says so.
//
// # The way down
//
// The context's end (SIGTERM or SIGINT under [Main]) makes /readyz say no, drains the worker, ends what [Runtime.Go]
// started, closes what [Runtime.Close] was told of in reverse, then client, connection and telemetry, and the health server
// last. A second signal ends the process at once, with exit code 130. Whatever else ends (a stuck handler, a function of
// [Runtime.Go] that fails) ends the program in the same order, with exit code 1.
//
// Exit codes: 0 drained in order; 1 an error; 2 wrong usage or configuration; 7 the broker was not reached in time, or
// refused access; 130 the second signal.
package service
