package shopcli

import (
	"github.com/leveretmq/leveret/pkg/cli"
)

// Commands returns all commands of this package, to be passed to [cli.Main] with the shop's catalog.
func Commands() []cli.Extra { return []cli.Extra{Dev, Demo, Serve} }
