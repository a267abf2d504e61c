// Package cli gives any catalog of contracts a command line: what there is to send, sending it, asking, looking at
// queues and at failed messages. It knows no shop; a program of ten lines is a CLI for its own contracts:
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
// array, with -o jsonl one line for each item, and errors are JSON too. What those hold is an interface, and stable. The
// exit codes are those of [ExitCode].
package cli
