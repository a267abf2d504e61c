package leveret_test

const crashURL = "LEVERET_TEST_CRASH_URL"

func crashingWorker(string) int { return 0 }
