// Package leveret lets services talk through RabbitMQ by contracts that are Go values.
//
// A contract says what may be sent: a [Command] to the one service that does it, an [Event] to all who subscribe, a
// [Request] that is answered. Everything else follows from it: exchange, queue, encoding, retries, dead letters. A
// [Service] says which contracts it sends and which it serves; a [Client] sends, [Handlers] handle, and a [Worker]
// serves them over RabbitMQ.
//
//	var ReserveStock = leveret.NewCommand[Reservation]("inventory.reserve")
//	var Inventory = leveret.NewService("inventory", leveret.Handles(ReserveStock))
//
//	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{"amqp://localhost"}})
//	h := leveret.NewHandlers(Inventory, leveret.HandlersConfig{})
//	ReserveStock.Handle(h, func(ctx context.Context, r Reservation) error { … })
//	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
//	err = w.Run(ctx) // until ctx ends and what runs has finished
//
// A handler is a plain function; the error it returns is the verdict on the message (see [Error]). Every message is
// delivered at least once: handlers make their effects happen once, by a unique business key.
package leveret
