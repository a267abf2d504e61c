package shopcli

import (
	"github.com/leveretmq/leveret/pkg/cli"
)

// Commands are all commands of this package, to be given to [cli.Main] with the shop's catalog.
func Commands() []cli.Extra { return []cli.Extra{Dev, Demo, Serve} }
