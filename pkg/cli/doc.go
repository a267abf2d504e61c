// Package cli is a command line for any catalog of contracts: it lists and sends messages, makes requests, and shows
// queues and dead letters. A program of ten lines has a CLI for its own contracts:
//
//	func main() { os.Exit(run()) }
//
//	func run() int {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//		defer stop()
//		context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
//		return cli.Main(ctx, queues.Catalog)
//	}
//
// Data goes to standard output; notes, progress, prompts and errors go to standard error. With -o json a list is one
// array, with -o jsonl one line per item, and notes, warnings, errors and logs are JSON too. The
// JSON is a stable interface, and so are the values of [ExitCode].
//
// What comes from outside cannot control a terminal: see [term.Streams.Guarded].
package cli
