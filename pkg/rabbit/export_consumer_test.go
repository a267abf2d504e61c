package rabbit

// Handlers returns how many goroutines of the consumer handle deliveries or wait for one.
func (c *Consumer) Handlers() int64 { return c.handling.Load() }
