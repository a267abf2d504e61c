// Package queues is what the services of the reference system say to each other: the contracts, the types of their
// payloads, and the services, one file per owning service. It holds no logic beyond the validation of payloads.
//
// Ids are UUIDs made by the sender, best of version 7, so that they sort by time. An order_id names one order in every
// service, and it is what makes an effect happen once though messages come at least once. Unknown fields of a payload
// are accepted and ignored: a sender may be newer than a receiver.
package queues
