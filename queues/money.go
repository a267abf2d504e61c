package queues

import "strings"

// MaxAmount is the largest amount in a message, in minor units: a billion euros.
const MaxAmount = 100_000_000_000

// Money is an amount in a currency.
type Money struct {
	// Amount is in the currency's minor units: 1999 is 19.99 EUR, and 1999 JPY.
	Amount int64 `json:"amount" jsonschema:"minimum=1,maximum=100000000000,description=In minor units: 1999 is 19.99 EUR"`
	// Currency is the ISO 4217 code: "EUR".
	Currency string `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,description=ISO 4217 code,example=EUR"`
}

// check checks an amount to be paid, which must be positive.
func (m Money) check(p *problems, path string) {
	p.between(path+".amount", m.Amount, 1, MaxAmount)
	if !knownCurrency(m.Currency) {
		p.add(path+".currency", "must be an uppercase ISO 4217 code such as EUR")
	}
}

// currencies are the ISO 4217 codes of currencies that are legal tender somewhere.
const currencies = " AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD " +
	"CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD " +
	"HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD " +
	"MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG " +
	"QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD " +
	"TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG "

func knownCurrency(code string) bool {
	return len(code) == 3 && strings.Contains(currencies, " "+code+" ")
}
