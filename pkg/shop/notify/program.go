package notify

import (
	"context"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
)

// Program returns notifyd, which notifies customers. The other keys are the settings of programs that use the same
// file.
func Program(otherKeys ...config.Key) service.Program {
	return service.Program{
		Service:   Declaration,
		About:     "notifyd notifies customers of what became of their orders.",
		Defaults:  map[string]string{"health.address": "127.0.0.1:8096"},
		OtherKeys: otherKeys,
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			s, err := OpenStore(ctx, rt.DatabaseSource)
			if err != nil {
				return err
			}
			rt.Close("store", s.Close)
			rt.Required("store", s.Writable)
			rt.Use(s.Codes)
			New(s, rt.Logger).Register(rt.Handlers)
			return nil
		},
	}
}
