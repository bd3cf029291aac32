// Package terminal prints the progress and the tables of kubectl fleet. Progress is shown on a terminal in place and
// in a pipe line by line.
package terminal

import (
	"io"
	"os"

	"golang.org/x/term"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
)

// Is reports whether a stream of a command is a terminal.
func Is(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// sizeOf returns a function that returns the current size of the terminal out; nil if out is not a terminal.
func sizeOf(out io.Writer) func() (width, height int) {
	if !Is(out) {
		return nil
	}
	file := out.(*os.File)
	return func() (width, height int) {
		width, height, err := term.GetSize(int(file.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			return 80, 24
		}
		return width, height
	}
}

// Table is printed as kubectl prints objects.
type Table struct {
	Columns []string
	Rows    [][]any
}

// Print prints the table.
func (t Table) Print(out io.Writer) error {
	table := &metav1.Table{}
	for _, column := range t.Columns {
		table.ColumnDefinitions = append(table.ColumnDefinitions, metav1.TableColumnDefinition{Name: column, Type: "string"})
	}
	for _, row := range t.Rows {
		table.Rows = append(table.Rows, metav1.TableRow{Cells: row})
	}
	return printers.NewTablePrinter(printers.PrintOptions{}).PrintObj(table, out)
}
