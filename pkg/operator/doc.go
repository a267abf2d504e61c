// Package operator lets an operator ask the running processes of a service about themselves: which queues they take
// messages from, how much they are handling, and how old it is. The broker does not know that of a quorum queue.
//
// A process answers with [Serve]; package service does so for every service that takes messages. [Asker] asks. A
// question takes no message from any queue of the service, and holds up no handler.
package operator
