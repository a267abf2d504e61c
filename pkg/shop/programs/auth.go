package programs

import (
	"context"
	"slices"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/auth"
	"github.com/leveretmq/leveret/queues"
)

// Auth returns authd, which keeps passwords and sessions, and signs access tokens.
func Auth() service.Program {
	return service.Program{
		Service:   queues.Auth,
		About:     "authd keeps passwords and sessions, and signs access tokens.",
		Defaults:  listens("auth", "127.0.0.1:8095"),
		Keys:      slices.Concat(authKeys(), addressKeys(), storeKeys()),
		OtherKeys: Keys(),
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			var own struct {
				AccessTTL   time.Duration `config:"access_ttl"`
				RefreshTTL  time.Duration `config:"refresh_ttl"`
				RotateEvery time.Duration `config:"rotate_every"`
				MaxHashes   int           `config:"max_hashes"`
			}
			if err := rt.Decode("auth", &own); err != nil {
				return err
			}
			s, err := auth.OpenStore(ctx, rt.DatabaseSource)
			if err != nil {
				return err
			}
			if err := keep(rt, s.Store); err != nil {
				return err
			}
			a, err := auth.New(s, auth.Config{
				AccessTTL: own.AccessTTL, RefreshTTL: own.RefreshTTL, RotateEvery: own.RotateEvery, MaxHashes: own.MaxHashes, Logger: rt.Logger,
			})
			if err != nil {
				return err
			}
			a.Register(rt.Handlers)
			rt.Go("keys and sessions", a.Run)
			return serve(rt, methods("auth")...)
		},
	}
}

func authKeys() []config.Key {
	return []config.Key{
		{Name: "auth.access_ttl", Type: config.Duration, Default: "5m", Usage: "how long an access token is valid"},
		{Name: "auth.refresh_ttl", Type: config.Duration, Default: "720h", Usage: "how long a session lasts that is not used"},
		{Name: "auth.rotate_every", Type: config.Duration, Default: "24h", Usage: "how long a key signs access tokens; more than an hour"},
		{Name: "auth.max_hashes", Type: config.Int, Default: "0", Usage: "how many passwords are hashed at once; 0 means one per CPU, 6 at most"},
	}
}
