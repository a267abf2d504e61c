package programs

import (
	"context"
	"slices"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/user"
	"github.com/leveretmq/leveret/queues"
)

// User returns userd, which knows the customers. Its own setting is user.auth.transport.
func User() service.Program {
	return service.Program{
		Service:   queues.User,
		About:     "userd knows the customers: who they are, and that they are.",
		Defaults:  listens("user", "127.0.0.1:8094"),
		Keys:      slices.Concat(userKeys(), addressKeys(), storeKeys()),
		OtherKeys: Keys(),
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			var own struct {
				Transport string `config:"transport"`
			}
			if err := rt.Decode("user.auth", &own); err != nil {
				return err
			}
			s, err := user.OpenStore(ctx, rt.DatabaseSource)
			if err != nil {
				return err
			}
			if err := keep(rt, s.Store); err != nil {
				return err
			}
			auth, err := caller(rt, own.Transport, "auth")
			if err != nil {
				return err
			}
			u := user.New(s, rt.Client, auth, user.Config{Logger: rt.Logger})
			u.Register(rt.Handlers)
			rt.Go("announcements", u.Run)
			return serve(rt)
		},
	}
}

func userKeys() []config.Key {
	return []config.Key{transport("user.auth.transport", "user asks auth to check a password", overGRPC, overAMQP, overHTTP)}
}
