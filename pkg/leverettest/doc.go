// Package leverettest is for the tests of programs that use Leveret.
package leverettest
