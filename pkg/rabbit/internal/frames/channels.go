package frames

import (
	"sync"
	"sync/atomic"
)

// channels is a set of channels, which is mostly empty. It is safe for concurrent use.
type channels struct {
	size atomic.Int32
	all  sync.Map
}

func (c *channels) add(channel uint16) {
	if _, there := c.all.LoadOrStore(channel, nil); !there {
		c.size.Add(1)
	}
}

func (c *channels) has(channel uint16) bool {
	if c.size.Load() == 0 {
		return false
	}
	_, there := c.all.Load(channel)
	return there
}

func (c *channels) remove(channel uint16) {
	if _, there := c.all.LoadAndDelete(channel); there {
		c.size.Add(-1)
	}
}
