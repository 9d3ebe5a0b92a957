// Command template renders alerts' annotations as Grafana does: Go's text/template with Prometheus' functions, $labels and
// $values, and "[no value]" for what is not there.
//
// A JSON list of {text, labels, values} comes on standard input, a JSON list of texts goes out.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"strings"
	"text/template"
	"time"
)

type value struct {
	Labels map[string]string
	Value  float64
}

type alert struct {
	Text   string             `json:"text"`
	Labels map[string]string  `json:"labels"`
	Values map[string]float64 `json:"values"`
}

const head = "{{- $labels := .Labels -}}{{- $values := .Values -}}"

func main() {
	var alerts []alert
	if err := json.NewDecoder(os.Stdin).Decode(&alerts); err != nil {
		log.Fatal(err)
	}
	texts := make([]string, 0, len(alerts))
	for _, each := range alerts {
		text, err := render(each)
		if err != nil {
			log.Fatal(err)
		}
		texts = append(texts, text)
	}
	if err := json.NewEncoder(os.Stdout).Encode(texts); err != nil {
		log.Fatal(err)
	}
}

func render(one alert) (string, error) {
	functions := template.FuncMap{"humanize": humanize, "humanizeDuration": humanizeDuration}
	parsed, err := template.New("annotation").Funcs(functions).Option("missingkey=invalid").Parse(head + one.Text)
	if err != nil {
		return "", err
	}
	values := make(map[string]value)
	for ref, number := range one.Values {
		values[ref] = value{one.Labels, number}
	}
	var out strings.Builder
	data := struct {
		Labels map[string]string
		Values map[string]value
	}{one.Labels, values}
	if err := parsed.Execute(&out, data); err != nil {
		return "", err
	}
	return strings.ReplaceAll(out.String(), "<no value>", "[no value]"), nil
}

func humanize(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) || math.Abs(v) < 1 {
		return fmt.Sprintf("%.4g", v)
	}
	prefix := ""
	for _, each := range []string{"k", "M", "G", "T"} {
		if math.Abs(v) < 1000 {
			break
		}
		prefix, v = each, v/1000
	}
	return fmt.Sprintf("%.4g%s", v, prefix)
}

func humanizeDuration(v float64) string {
	return time.Duration(v * float64(time.Second)).Round(time.Second).String()
}
