// Package config is where settings come from: flags, then environment variables, then a file, then defaults. It is the
// only place that knows viper.
//
// Everything follows from a table of keys (see [Keys]): the flag, the variable, the place in the file, the default, the
// check, and the documentation. A program adds its own keys to the table and reads them into a struct of its own:
//
//	type Payment struct {
//		DeclineAbove int           `config:"decline_above"`
//		Delay        time.Duration `config:"delay"`
//	}
//
//	schema := config.New(
//		config.Key{Name: "payment.decline_above", Type: config.Int, Default: "0", Usage: "decline cards over this amount"},
//		config.Key{Name: "payment.delay", Type: config.Duration, Default: "0s", Usage: "how long an answer takes"},
//	)
//	schema.AddFlags(flags)
//	loaded, err := schema.Load(flags, config.Options{})
//	var own Payment
//	err = loaded.Decode("payment", &own)
//
// The key payment.decline_above is then the flag --payment-decline-above, the variable LEVERET_PAYMENT_DECLINE_ABOVE, and
// decline_above in the section payment of the file.
package config
