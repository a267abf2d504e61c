// Package service provides what all services built on Leveret have in common: configuration, logging, telemetry, health
// checks, startup and graceful shutdown. A program defines only what is its own:
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
// # Startup
//
// A program starts its parts in this order: configuration, logging, telemetry, the health server, the connection,
// Setup, and the worker. Once the health server runs, /healthz answers and /readyz reports what the program is waiting
// for. The program waits for the connection up to broker.connect_timeout. When every queue is being consumed, it logs
// "ready".
//
// # Shutdown
//
// Shutdown begins when the context ends, which under [Main] happens on SIGTERM or SIGINT. From then on /readyz reports
// "draining". The program ends the functions of [Runtime.Serve], drains the worker, ends the functions of [Runtime.Go],
// calls the functions of [Runtime.Close] in reverse order, and closes the client, the connection, telemetry, and last
// the health server. A second signal ends the process at once, with exit code 130. If the worker or a function of
// [Runtime.Go] fails, the program shuts down in the same order, with exit code 1.
//
// Exit codes: 0 shut down gracefully; 1 error; 2 wrong usage or configuration; 7 the broker was not reached in time, or
// refused access; 130 second signal.
package service
