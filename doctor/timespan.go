package doctor

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// timeSpan reads a time as systemd does: numbers with units, to be added up; one without a unit is of
// seconds. It is zero for infinity, for which systemd takes 0 as well, and for what is not understood.
func timeSpan(text string) time.Duration {
	var sum float64
	for rest := strings.TrimSpace(text); rest != ""; {
		word := strings.TrimLeft(rest, "0123456789.")
		n, err := strconv.ParseFloat(rest[:len(rest)-len(word)], 64)
		word = strings.TrimSpace(word)
		rest = strings.TrimLeft(word, "abcdefghijklmnopqrstuvwxyzµ")
		unit := unitOfTime(word[:len(word)-len(rest)])
		if err != nil || unit == 0 {
			return 0
		}
		sum += n * float64(unit)
		rest = strings.TrimSpace(rest)
	}
	return time.Duration(min(sum, math.MaxInt64/2)) // centuries
}

func unitOfTime(word string) time.Duration {
	const day = 24 * time.Hour
	switch word {
	case "us", "usec", "µs":
		return time.Microsecond
	case "ms", "msec":
		return time.Millisecond
	case "", "s", "sec", "second", "seconds":
		return time.Second
	case "m", "min", "minute", "minutes":
		return time.Minute
	case "h", "hr", "hour", "hours":
		return time.Hour
	case "d", "day", "days":
		return day
	case "w", "week", "weeks":
		return 7 * day
	}
	return 0
}
