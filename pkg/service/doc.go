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
//				db, err := payment.Open(ctx, rt.DatabaseSource)
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
// Setup, the servers of [Runtime.ServeHTTP] and [Runtime.ServeGRPC], and the worker. Once the health server runs,
// /healthz answers and /readyz reports what the program is waiting for. When it serves and every queue is being consumed,
// it logs "ready".
//
// Before Setup, the program waits for the broker, up to broker.connect_timeout; a refused login ends it. A program with
// an http.address or a grpc.address does not wait: it serves, and goes on trying to connect, whatever the reason why it
// cannot. Its worker begins when the broker is there. If broker.connect_timeout is set, the program ends when the broker
// was not reached by then.
//
// # Readiness
//
// A program without servers is ready while it can do its work with the broker. A program with servers has the parts
// http, grpc and broker; it is ready while at least one part brings work in, and every check of [Runtime.Ready] passes.
// /readyz then has a line for each part, and /readyz/broker and so on answer for one.
//
// A projection that stands still has a line too, and does not count: see [Runtime.Project].
//
// # Shutdown
//
// Shutdown begins when the context ends, which under [Main] happens on SIGTERM or SIGINT. From then on /readyz reports
// "draining". After health.drain_delay, the program drains its servers and ends the functions of [Runtime.Serve], drains
// the worker, ends the functions of [Runtime.Go], calls the functions of [Runtime.Close] in reverse order, and closes the client, the connection, telemetry, and last
// the health server. A second signal ends the process at once, with exit code 130. If the worker or a function of
// [Runtime.Go] fails, the program shuts down in the same order, with exit code 1.
//
// Exit codes: 0 shut down gracefully; 1 error; 2 wrong usage or configuration; 7 the broker was not reached in time, or
// refused access; 130 second signal.
package service
