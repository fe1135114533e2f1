package metrics

import (
	"strconv"
	"strings"
)

// ContentType is what a page is served as.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Page is one answer to a scrape: families of samples, each with its help and its type.
type Page struct{ text []byte }

// Bytes is the page as it is sent.
func (p *Page) Bytes() []byte { return p.text }

// Counter adds a family of one counter.
func (p *Page) Counter(name, help string, c *Counter) {
	p.begin(name, help, "counter")
	p.whole(name, "", "", c.n.Load())
}

// Counters adds a family with one sample for each value of its label, those at zero included: a rate can
// then tell the first one.
func (p *Page) Counters(name, help string, c *Counters) {
	p.begin(name, help, "counter")
	for i, value := range c.values {
		p.whole(name, c.label, value, c.counts[i].n.Load())
	}
}

// Gauge adds a value that goes up and down.
func (p *Page) Gauge(name, help string, value float64) {
	p.begin(name, help, "gauge")
	p.sample(name, "", "")
	p.text = append(p.number(value), '\n')
}

// Info adds a gauge that is always 1 and tells something by its label.
func (p *Page) Info(name, help, label, value string) {
	p.begin(name, help, "gauge")
	p.whole(name, label, value, 1)
}

// Histogram adds a family of buckets, each with all that is in those below it, the sum in seconds and the
// count. The count is that of the buckets as they were read, whatever is observed meanwhile.
func (p *Page) Histogram(name, help string, h *Histogram) {
	p.begin(name, help, "histogram")
	sum, count := h.sum.n.Load(), uint64(0)
	for i, bound := range h.bounds {
		count += h.counts[i].n.Load()
		p.whole(name+"_bucket", "le", formatted(bound.Seconds()), count)
	}
	count += h.counts[len(h.bounds)].n.Load()
	p.whole(name+"_bucket", "le", "+Inf", count)
	p.sample(name+"_sum", "", "")
	p.text = append(p.number(float64(sum)/1e9), '\n')
	p.whole(name+"_count", "", "", count)
}

func (p *Page) begin(name, help, kind string) {
	p.text = append(p.text, "# HELP "+name+" "+escaped(help)+"\n# TYPE "+name+" "+kind+"\n"...)
}

// whole adds a sample whose value is a whole number.
func (p *Page) whole(name, label, value string, n uint64) {
	p.sample(name, label, value)
	p.text = append(strconv.AppendUint(p.text, n, 10), '\n')
}

// sample begins a line, up to the blank before its value.
func (p *Page) sample(name, label, value string) {
	p.text = append(p.text, name...)
	if label != "" {
		p.text = append(p.text, "{"+label+`="`+strings.ReplaceAll(escaped(value), `"`, `\"`)+`"}`...)
	}
	p.text = append(p.text, ' ')
}

// escaped is for help; in the value of a label quotes are escaped as well.
func escaped(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), "\n", `\n`)
}

func (p *Page) number(value float64) []byte { return append(p.text, formatted(value)...) }

// formatted writes a number as Go does, which is what the format asks for.
func formatted(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }
