// Package devbroker runs a private, throw-away RabbitMQ node for development and
// tests. It is the real broker, with quorum queues, confirms, delivery limits and
// the management API.
//
//	b, err := devbroker.Start(ctx, devbroker.Config{})
//	if err != nil {
//		return err
//	}
//	defer b.Close(context.WithoutCancel(ctx))
//	conn, err := amqp.Dial(b.URL())
//
// A node listens only on free ports of 127.0.0.1, keeps everything in one folder,
// and runs its own epmd, so any number of nodes can run side by side, and next to a
// RabbitMQ that runs as a system service. Nothing is installed system-wide, nothing
// asks for input, and no other process is touched.
//
// # Where the broker comes from
//
// The first source that works is used (see [Find]):
//
//  1. LEVERET_BROKER_URL: a broker that is already running. It is never started,
//     stopped or killed. Virtual hosts are created through its management API, at
//     LEVERET_BROKER_MANAGEMENT_URL or at the usual port of the same host: 15671 over
//     https for amqps, 15672 over http for amqp.
//  2. LEVERET_RABBITMQ_BIN: a folder that contains rabbitmq-server and rabbitmqctl.
//  3. The scripts of an installed RabbitMQ (Debian, RPM, Homebrew, PATH).
//  4. On a machine with apt: Debian's packages, downloaded and unpacked into the
//     user's cache folder, without root.
//  5. Docker or Podman.
//
// # How it ends
//
// Call [Broker.Close]. If the owner dies without doing so, for whatever reason, a
// guardian ends the node and removes its folder. The guardian is a /bin/sh that
// blocks on a pipe whose other end only the owner holds. Node and guardian run in
// separate sessions, so a Ctrl-C on the terminal reaches neither.
//
// # One node for many test binaries
//
// [Shared] gives all test binaries of one `go test ./...` the same node. Tests use
// separate virtual hosts ([Broker.VHost]); a test that kills its node starts a
// private one with [Start].
//
// # A cluster
//
// With [Config.Join], a node joins the cluster of another one. Each is a [Broker] of its own:
//
//	first, err := devbroker.Start(ctx, devbroker.Config{Private: true})
//	…
//	second, err := devbroker.Start(ctx, devbroker.Config{Join: first})
package devbroker
