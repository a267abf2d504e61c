// Package management is a client of RabbitMQ's management API, for what AMQP cannot ask: rates, unacked messages, all
// the queues of a virtual host, users and permissions. Nothing in Leveret needs it to work: many users have no access
// to it, and many brokers do not run it.
package management
