package operator

// ReportOf returns what facts report.
func ReportOf(f *Facts) []Queue { return f.report() }

// Listening returns where a process is asked.
var Listening = listening
