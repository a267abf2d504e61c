package management

// SetPageSize makes pages small enough for a test to need several.
func (c *Client) SetPageSize(n int) { c.pageSize = n }
