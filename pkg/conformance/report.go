package conformance

// A State is what is known of a rule.
type State string

// The states.
const (
	Kept      State = "kept"
	Broken    State = "broken"
	NotTested State = "not tested"
)

// A Result is the verdict on one rule.
type Result struct {
	Rule   string `json:"rule"`
	State  State  `json:"state"`
	Should bool   `json:"should"` // the rule is advice: broken, it makes no client a wrong one
	Text   string `json:"text"`
	// Why says what the client did, or why the rule was not tested. It is empty if the rule was kept.
	Why string `json:"why,omitempty"`
}

// A Report is the verdict on a client.
type Report struct {
	Role   Role   `json:"role"`
	Broker string `json:"broker"` // RabbitMQ's version
	// OK says that no rule is broken but those that are advice.
	OK        bool     `json:"ok"`
	Kept      int      `json:"kept"`
	Broken    int      `json:"broken"`
	NotTested int      `json:"not_tested"`
	Results   []Result `json:"results"`
}

func (r *Report) add(result Result) {
	r.Results = append(r.Results, result)
	switch result.State {
	case Kept:
		r.Kept++
	case Broken:
		r.Broken++
		r.OK = r.OK && result.Should
	default:
		r.NotTested++
	}
}

// A verdict is a check's.
type verdict struct {
	state State
	why   string
}
