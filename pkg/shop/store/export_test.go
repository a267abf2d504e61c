package store

import "time"

// WaitLonger has Open wait longer for a server.
func WaitLonger() { openWithin = 2 * time.Minute }

// Writing reports whether the connection that writes is in use.
func (s *Store) Writing() bool { return s.db.Stats().InUse > 0 }

// Committed counts a transaction of another writer.
func (s *Store) Committed() { s.commits.Add(1) }
