// Package config reads settings from flags, environment variables, a file and defaults, in this order of precedence. It
// is the only package that uses viper.
//
// Everything follows from a table of keys (see [Keys]): flags, variables, places in the file, defaults, checks and the
// documentation. A program adds its own keys to the table and reads them into its own struct:
//
//	type Payment struct {
//		DeclineAbove int           `config:"decline_above"`
//		Delay        time.Duration `config:"delay"`
//	}
//
//	schema := config.New(
//		config.Key{Name: "payment.decline_above", Type: config.Int, Default: "0", Usage: "decline cards over this amount"},
//		config.Key{Name: "payment.delay", Type: config.Duration, Default: "0s", Usage: "how long a reply takes"},
//	)
//	schema.AddFlags(flags)
//	loaded, err := schema.Load(flags, config.Options{})
//	var own Payment
//	err = loaded.Decode("payment", &own)
//
// The key payment.decline_above can then be set by the flag --payment-decline-above, by the variable
// LEVERET_PAYMENT_DECLINE_ABOVE, or as decline_above in the section payment of the file.
package config
