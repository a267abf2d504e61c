package operator

// ReportOf returns what facts report.
func ReportOf(f *Facts) []Queue { return f.report() }
