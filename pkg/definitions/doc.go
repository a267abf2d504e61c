// Package definitions derives from the contracts of a system what an administrator loads into RabbitMQ: exchanges,
// queues and bindings, and for each service a user with the permissions that its contracts need, and no others.
//
// The result is RabbitMQ's own format, for rabbitmqctl import_definitions, for the management API, and for
// load_definitions at the broker's start. The services then run with broker.declare: false. They still declare the
// exclusive queues of their processes, which nobody else can, and the queues of their requests when those have expired.
package definitions
