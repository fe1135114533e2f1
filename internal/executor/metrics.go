package executor

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// metricsType is the media type of a page: version 0.0.4 of the text format of Prometheus.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// counter only rises. It starts at zero and is safe for concurrent use. Counting takes one atomic
// addition and allocates nothing.
type counter struct{ n atomic.Uint64 }

func (c *counter) add(n uint64) { c.n.Add(n) }

// labelledCounter is one counter for each value of a label. The values are fixed when it is made:
// no value of a label comes from a caller.
type labelledCounter struct {
	label  string
	values []string
	counts []counter
}

func newLabelledCounter(label string, values ...string) *labelledCounter {
	return &labelledCounter{label: label, values: values, counts: make([]counter, len(values))}
}

// add counts n more for the value with that index.
func (c *labelledCounter) add(index int, n uint64) { c.counts[index].add(n) }

// histogram sorts durations into buckets.
type histogram struct {
	bounds []time.Duration // inclusive, ascending
	counts []counter       // one more than bounds: what is above the last one
	sum    counter         // nanoseconds
}

func newHistogram(bounds ...time.Duration) *histogram {
	return &histogram{bounds: bounds, counts: make([]counter, len(bounds)+1)}
}

func (h *histogram) observe(d time.Duration) {
	bucket := 0
	for bucket < len(h.bounds) && d > h.bounds[bucket] {
		bucket++
	}
	h.counts[bucket].add(1)
	h.sum.add(uint64(max(d, 0)))
}

// state is the counts by value, for a handover.
func (c *labelledCounter) state() map[string]uint64 {
	all := map[string]uint64{}
	for i, value := range c.values {
		all[value] = c.counts[i].n.Load()
	}
	return all
}

// restore adds what an earlier program has counted. It ignores values that this one does not have.
func (c *labelledCounter) restore(all map[string]uint64) {
	for i, value := range c.values {
		c.counts[i].add(all[value])
	}
}

// state is the buckets by their bounds, and the sum by "sum", in nanoseconds.
func (h *histogram) state() map[string]uint64 {
	all := map[string]uint64{"sum": h.sum.n.Load()}
	for i := range h.counts {
		all[h.bucket(i)] = h.counts[i].n.Load()
	}
	return all
}

// restore adds what an earlier program has observed. It ignores buckets that this one does not
// have.
func (h *histogram) restore(all map[string]uint64) {
	h.sum.add(all["sum"])
	for i := range h.counts {
		h.counts[i].add(all[h.bucket(i)])
	}
}

func (h *histogram) bucket(i int) string {
	if i < len(h.bounds) {
		return h.bounds[i].String()
	}
	return "above"
}

// metricsPage is the answer to one scrape: families of samples, each with its help and its type.
type metricsPage struct {
	prefix string // of every name
	text   []byte
}

func (p *metricsPage) counter(name, help string, c *counter) {
	p.begin(name, help, "counter")
	p.sample(name, strconv.FormatUint(c.n.Load(), 10))
}

// labelledCounter writes a family with the samples of one counter.
func (p *metricsPage) labelledCounter(name, help string, c *labelledCounter) {
	p.begin(name, help, "counter")
	p.counts(name, c)
}

// counts writes a sample for each value of the counter's label, after other labels. It includes
// those at zero, so that a rate sees their first increment.
func (p *metricsPage) counts(name string, c *labelledCounter, others ...string) {
	for i, value := range c.values {
		p.sample(name, strconv.FormatUint(c.counts[i].n.Load(), 10),
			slices.Concat(others, []string{c.label, value})...)
	}
}

func (p *metricsPage) gauge(name, help string, value float64) {
	p.begin(name, help, "gauge")
	p.sample(name, formatFloat(value))
}

// info writes a gauge that is always 1; its label holds the information.
func (p *metricsPage) info(name, help, label, value string) {
	p.begin(name, help, "gauge")
	p.sample(name, "1", label, value)
}

// histogram writes cumulative buckets, the sum in seconds and the count. The count is the sum of
// the buckets as they were read, so that both agree under concurrent observations.
func (p *metricsPage) histogram(name, help string, h *histogram) {
	p.begin(name, help, "histogram")
	sum, count := h.sum.n.Load(), uint64(0)
	for i := range h.counts {
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = formatFloat(h.bounds[i].Seconds())
		}
		count += h.counts[i].n.Load()
		p.sample(name+"_bucket", strconv.FormatUint(count, 10), "le", bound)
	}
	p.sample(name+"_sum", formatFloat(float64(sum)/1e9))
	p.sample(name+"_count", strconv.FormatUint(count, 10))
}

func (p *metricsPage) begin(name, help, kind string) {
	help = strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help)
	name = p.prefix + name
	p.text = append(p.text, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// sample writes one line. Labels are names and values, alternating.
func (p *metricsPage) sample(name, number string, labels ...string) {
	p.text = append(p.text, p.prefix+name...)
	separator := byte('{')
	for i := 0; i+1 < len(labels); i += 2 {
		p.text = append(p.text, separator)
		p.text = append(p.text, labels[i]+`="`+labelEscapes.Replace(labels[i+1])+`"`...)
		separator = ','
	}
	if len(labels) > 0 {
		p.text = append(p.text, '}')
	}
	p.text = append(p.text, " "+number+"\n"...)
}

func formatFloat(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }
