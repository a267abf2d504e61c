package shopcli

import (
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/notify"
	"github.com/leveretmq/leveret/queues"
)

// Catalog is the whole system: that of package queues, and the services that only listen.
var Catalog = leveret.NewCatalog(append(queues.Catalog.Services(), notify.Declaration)...)

// Commands returns all commands of this package, to be passed to [cli.Main] with the shop's catalog.
func Commands() []cli.Extra { return []cli.Extra{Dev, Demo, Compare, Conformance, Serve} }
