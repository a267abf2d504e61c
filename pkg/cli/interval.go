package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// watchEvery is the default interval of --watch, and watchLeast the shortest.
const (
	watchEvery = 2 * time.Second
	watchLeast = 100 * time.Millisecond
)

// An interval is the value of --watch: a duration, or a number of seconds.
type interval time.Duration

// String returns the interval as people write it.
func (i *interval) String() string { return short(time.Duration(*i)) }

// Type returns what help calls the value.
func (i *interval) Type() string { return "interval" }

var errInterval = errors.New("it must be a number of seconds, or a duration such as 500ms or 1m")

// Set reads the value: 5, 5s, 0.5, 1m30s.
func (i *interval) Set(text string) error {
	d, err := time.ParseDuration(text)
	if seconds, e := strconv.ParseFloat(text, 64); e == nil && seconds >= -1e6 && seconds <= 1e6 {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	switch {
	case err != nil:
		return errInterval
	case d < watchLeast:
		return fmt.Errorf("it must be %v or more", watchLeast)
	}
	*i = interval(d)
	return nil
}

// takeInterval takes the interval of "--watch 5" out of the arguments: to pflag, whose --watch stands alone, it is one of
// them. It begins with a digit, as no queue of the catalog does unless it is external.
func (a *App) takeInterval(args []string, every *interval) (rest []string, err error) {
	for _, arg := range args {
		if arg == "" || arg[0] < '0' || arg[0] > '9' || len(a.filtered(a.shownQueues(), arg)) > 0 {
			rest = append(rest, arg)
			continue
		}
		if err := every.Set(arg); err != nil {
			return nil, usage("--watch 5 refreshes every five seconds, --watch=500ms twice a second", "--watch is %q; %w", arg, err)
		}
	}
	return rest, nil
}
