// Command desk is a command line for queues that exist already, on a system that knows nothing of Leveret.
package main

import (
	"context"
	"os"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// charge is a command of yours. Leave DeadLetterQueue out if the queue has no dead-letter exchange.
var charge = leveret.NewCommand[any]("billing.charge", leveret.At(leveret.Address{
	Exchange: "billing", RoutingKey: "charge", Queue: "billing.charge", External: true,
	Type: leveret.NoType, DeadLetterQueue: "dead-letters",
}))

func main() {
	billing := leveret.NewService("billing", leveret.Handles(charge), leveret.Sends(charge))
	os.Exit(cli.Main(context.Background(), leveret.NewCatalog(billing)))
}
