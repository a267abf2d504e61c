// Package devbroker runs a private, throw-away, real RabbitMQ node for
// development and tests. Nothing is imitated: quorum queues, confirms,
// delivery limits and the management API are the broker's own.
//
//	b, err := devbroker.Start(ctx, devbroker.Config{})
//	if err != nil {
//		return err
//	}
//	defer b.Close(context.WithoutCancel(ctx))
//	conn, err := amqp.Dial(b.URL())
//
// A node listens on free ports of 127.0.0.1 only, keeps everything in one
// folder, and runs an epmd of its own, so any number of nodes live side by side
// and beside a RabbitMQ that the machine runs as a service. Nothing is installed
// system-wide, nothing asks a question, and no other process is touched.
//
// # Where the broker comes from
//
// The first way that works is taken (see [Find]):
//
//  1. LEVERET_BROKER_URL: a broker that runs already. It is used, never started,
//     stopped or killed. Virtual hosts go through its management API, at
//     LEVERET_BROKER_MANAGEMENT_URL or at port 15672 of the same host.
//  2. LEVERET_RABBITMQ_BIN: a folder that holds rabbitmq-server and rabbitmqctl.
//  3. The scripts of an installed RabbitMQ (Debian, RPM, Homebrew, PATH).
//  4. On a machine with apt: Debian's packages, downloaded and unpacked into the
//     user's cache folder, without root.
//  5. Docker or Podman.
//
// # Who ends it
//
// [Broker.Close] does. Where the owner dies without calling it, a guardian (a
// /bin/sh that blocks on a pipe whose other end only the owner holds) ends the
// node and removes its folder, whatever killed the owner. Node and guardian run
// in sessions of their own: a Ctrl-C on the terminal reaches neither.
//
// # One node for many test binaries
//
// [Shared] gives all test binaries of one `go test ./...` the same node.
// Tests keep apart by a virtual host each ([Broker.VHost]); a test that kills
// its node starts one of its own with [Start].
package devbroker
