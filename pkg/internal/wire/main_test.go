package wire_test

import (
	"testing"

	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }
