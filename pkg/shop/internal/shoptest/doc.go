// Package shoptest is what the tests of the shop's services share.
package shoptest
