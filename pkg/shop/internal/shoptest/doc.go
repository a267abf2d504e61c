// Package shoptest holds what the tests of the shop's services share.
package shoptest
