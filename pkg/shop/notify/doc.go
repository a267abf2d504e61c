// Package notify tells customers what became of their orders: it records the text that would be sent. It only listens.
// Everything that it is made of is in this folder, its declaration and its program included, and none of the services
// that publish the events know of it.
package notify
