package executor

import (
	"encoding/json"
	"reflect"
	"testing"

	"dataflux-func-sidecar/internal/state"
)

// The texts are those of the release before: this one reads them, and writes the same keys.
func TestOrigin_RecordsOfTheReleaseBefore(t *testing.T) {
	want := origin{jobRef{"ops", "j1"}, originFacts{
		"192.0.2.7:4711", "deploy", labels{"user": "alice"}, exampleTrace,
	}}
	for _, test := range []struct {
		name, text string
		decode     func(text []byte) (origin, any, error)
	}{
		{
			"accepted job in the ledger", `{"Contained":true,"Kept":true,` +
				`"Remote":"192.0.2.7:4711","Command":"deploy","CommandBytes":6,"Digest":"AAAAAA==",` +
				`"Action":"deploy","Labels":{"user":"alice"},"Traceparent":"` + string(exampleTrace) + `"}`,
			func(text []byte) (origin, any, error) {
				p := state.Promise{ID: "ops/j1", Data: text}
				return originOf(p), acceptedMetaOf(p), nil
			},
		}, {
			"job in a handover", `{"ID":"ops/j1","Action":"deploy","Labels":{"user":"alice"},` +
				`"Traceparent":"` + string(exampleTrace) + `","Remote":"192.0.2.7:4711","Command":"deploy",` +
				`"CommandBytes":6,"CallbackURL":"http://h:1/a","State":"kept"}`,
			func(text []byte) (origin, any, error) {
				var s jobRecord
				err := json.Unmarshal(text, &s)
				return origin{parseRecordID(s.ID), s.originFacts}, s, err
			},
		}, {
			"delivery in a handover", `{"ID":"ops/j1","Remote":"192.0.2.7:4711","Action":"deploy",` +
				`"Labels":{"user":"alice"},"Traceparent":"` + string(exampleTrace) + `","URL":"http://h:1/a"}`,
			func(text []byte) (origin, any, error) {
				var s deliveryState
				err := json.Unmarshal(text, &s)
				return origin{parseRecordID(s.ID), s.originFacts}, s, err
			},
		},
	} {
		got, record, err := test.decode([]byte(test.text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v %v, want %+v", test.name, got, err, want)
		}
		var before, now map[string]any
		text, err := json.Marshal(record)
		if err != nil || json.Unmarshal(text, &now) != nil ||
			json.Unmarshal([]byte(test.text), &before) != nil {
			t.Fatalf("%s: got %s %v, want an object", test.name, text, err)
		}
		for key, value := range before {
			if !reflect.DeepEqual(now[key], value) {
				t.Errorf("%s: %s is %v, want %v", test.name, key, now[key], value)
			}
		}
	}
}
