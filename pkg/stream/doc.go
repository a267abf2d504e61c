// Package stream reads events that are kept: those of contracts with the option Kept of package leveret, which RabbitMQ appends
// to a stream. A [Reader] reads one stream. A [Projection] builds tables from one or several, such as the orders of each
// customer, and can build them again from the beginning.
//
// # Projections
//
// Each event is delivered at least once, in the order of its stream. The position in the stream is stored in the table
// leveret_positions of the same database, in the transaction of the handler's effect, so that in this database an effect
// happens exactly once, whatever is killed when. What a handler does elsewhere, such as sending a message, can happen again.
//
// What a handler has to bear:
//
//   - Events of different streams come in any order, even those of one order or one customer. Let each event set what it knows,
//     so that their effects are the same in any order.
//   - An event can be in its stream twice, under the same message id: a sender that did not see the confirm sends it again. Let
//     an effect that happens twice be the same as once: set a column, do not add to it.
//   - An event that cannot be handled is not skipped, and not put aside: what comes after it in its stream waits. [On] says how
//     it is tried again. An event of an older version of its contract is converted with the option Older.
//
// Several processes may run the same projection. Nothing coordinates them: each one reads all events, the first one to commit
// moves the position, and the others roll back and go on behind it. They make it available, not faster.
//
// # Events that are missing
//
// A stream has limits, by which RabbitMQ deletes its oldest events, whether or not they were read. It does not tell a reader:
// reading goes on with what is left. A reader knows by the offset at which the stream begins now, and fails with a [GapError].
// A stream that was deleted and declared again has other events at the same offsets. A reader knows by the message id of the
// event that it read last, and fails with a [ReplacedError]. Either stops a projection until somebody decides:
// [Projection.Rebuild] builds its tables from what there is, and [Projection.Accept] goes on behind what is missing. Where a
// stream has no event, the error is [ErrUndecided], and reading is tried again.
//
// What a reader cannot know:
//
//   - RabbitMQ uses one offset itself where a segment begins, so that one missing event there looks like none.
//   - It uses one each time that a program stores its place in the stream on the broker, which the stream protocol allows. If
//     all up to there was read and then deleted, nothing was missed, and the reader fails with a GapError though.
//   - Where senders give no message ids, a stream that was declared again and has come further looks like the same one.
//   - What was deleted before a reader's first event is not missing to it.
//
// # Versions of RabbitMQ
//
// Everything here is the same on 3.10 and 4.3: the reader uses what both have. They differ where programs of others read a
// stream: a nack closes the connection on 3.10, and is ignored on 4.3; and a header of bytes comes back as text on 4.3. Both
// lose headers that are tables or lists. No version says where a stream ends: [Look] finds out by consuming. An offset never
// changes; between two events, one may be missing.
package stream
