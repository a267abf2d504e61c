// Package queues defines the messages of the reference system: its contracts, their payloads, and the services that use
// them, with one file per owning service. It holds no logic beyond the validation of payloads.
//
// A payload's type is named after its contract and kind: the event OrderPlaced carries an OrderPlacedEvent, the command
// PlaceOrder a PlaceOrderCommand, and the request ShowOrder a ShowOrderRequest, answered by a ShowOrderReply.
//
// Senders create the ids, which are UUIDs, preferably of version 7 so that they sort by time. An order_id identifies the
// same order in every service; it is the key by which an effect happens once although messages arrive at least once.
// Receivers ignore unknown fields, since a sender may be newer than a receiver.
package queues
